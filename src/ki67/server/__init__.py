"""The viewer's server: cases under one folder, over HTTP on this machine only; needs the extra ``serve``."""
