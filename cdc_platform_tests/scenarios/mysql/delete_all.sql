-- DELETE without a WHERE clause is logged row by row.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
delete from people;
-- run
-- expect events
--   DELETE  {"id": 1, "name": "Ada"}  null
--   DELETE  {"id": 2, "name": "Bob"}  null
