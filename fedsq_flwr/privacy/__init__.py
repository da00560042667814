"""A silo's own privacy: what is protected and how much of it is spent, counted and recorded on the silo's disk.

`accounting` turns mechanisms into epsilon, `ledger` keeps what was spent, `audit` keeps a log that shows changes, and
`guard` stands between a run and the silo's samples.
"""
