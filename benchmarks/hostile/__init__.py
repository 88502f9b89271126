"""Hostile and faulty inputs: how they are drawn, tried one by one in a process of their own, and judged."""
