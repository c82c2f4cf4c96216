"""The parts of the report: material of a run folder to figures, findings and pages."""
