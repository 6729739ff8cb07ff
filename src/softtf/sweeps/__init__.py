"""Many runs: the folder is the queue, and each run in it is begun, gone on with, or finished already."""
