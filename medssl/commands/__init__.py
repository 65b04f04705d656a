"""The commands of ``python -m medssl``, a file each: its options, and the one function elsewhere that it calls.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""
