"""The one base of errors that are the user's to mend: the command line prints their message and nothing else."""


class UserError(Exception):
    """One line that names the thing, the value and the way out."""
