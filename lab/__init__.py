"""What the commands share; no stage imports it, so that no change here makes DVC run one."""
