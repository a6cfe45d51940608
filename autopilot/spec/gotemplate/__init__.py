"""Render Go's text/template over the environment, as ContainerPilot's configuration files use it.

Theory of operation: the lexer turns text into tokens, the parser turns tokens into a tree, the evaluator turns the tree
into text. Python never generates or evaluates code. Every resource has a bound: steps, output, nesting, loops, and the
cost of a regular expression.
"""
