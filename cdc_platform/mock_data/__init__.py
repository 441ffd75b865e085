"""Source tables, mock data and a simulated workload for the demo, the tests and the benchmark.

    seed.seed(...)          creates the source tables and fills them      `cdc seed`
    simulate.simulate(...)  a paced mixed workload that keeps all rules   `cdc simulate`
    churn.churn(...)        a given number of changes, as fast as can be  `make bench`

`postgres.sql` and `mysql.sql` are the source schemas. The generators (`customers`, `orders`, `products`,
`inventory`, `evolution`) are pure: a random generator, a row count and a reference time in, a Polars frame out.
Drivers are used in `postgres.py` and `mysql.py` only. Nothing here knows of pipelines.
"""
