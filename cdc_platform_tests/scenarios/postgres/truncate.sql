-- TRUNCATE is one DELETE a row. Elsewhere it is a warning, or nothing.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
truncate people;
-- run
-- expect events
--   DELETE  {"id": 1, "name": "Ada"}  null
--   DELETE  {"id": 2, "name": "Bob"}  null
insert into people values (2, 'Eve');
truncate people restart identity;
-- run
-- Of an empty table: no event.
truncate people;
-- run
-- expect events
