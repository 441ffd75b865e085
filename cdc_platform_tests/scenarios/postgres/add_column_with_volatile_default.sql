-- The default of a new column differs from row to row: Postgres rewrites the table, and logs no row of it.
-- table: people
create table people (id int primary key, name text);
insert into people select n, 'name ' || n from generate_series(1, 500) n;
-- run
alter table people add column token uuid default gen_random_uuid();
update people set name = 'Ada' where id = 1;
-- run
