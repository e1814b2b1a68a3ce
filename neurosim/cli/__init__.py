"""The command ``neurosim``: thin functions around the public interface, one file per command.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 a run failed; 2 the call or a config does not hold; 3 the acceptance
was not met; 4 data are missing; 130 and 143 stopped by Ctrl-C or SIGTERM, state saved. Nothing heavy is imported before a command needs it.
"""

from neurosim.cli.entry import main as main
