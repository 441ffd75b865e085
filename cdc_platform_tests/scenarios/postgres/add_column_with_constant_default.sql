-- The default of a new column fills the rows that are there, without a change in the log.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people add column country text default 'USA';
-- run
-- expect rows
--   id | country
--   1  | USA
--   2  | USA
insert into people (id, name) values (3, 'Cid');
insert into people values (4, 'Dan', null);
-- run
-- expect rows
--   id | country
--   1  | USA
--   2  | USA
--   3  | USA
--   4  | null
