"""What ``fedsq doctor`` looks at before a silo joins, a module a subject; ``silos/examination.py`` has the order."""
