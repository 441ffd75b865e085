-- ALTER TYPE to the type that it has, USING something else: rows change and no shape does.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people alter column name type text using upper(name);
-- run
-- expect rows
--   id | name
--   1  | ADA
--   2  | BOB
