# Two commands for a stranger: make demo · make test. Each sets itself up.
