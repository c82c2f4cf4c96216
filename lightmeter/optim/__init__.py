"""How weights are changed: parameter groups, optimizers, schedules, averaged weights and losses."""
