-- A TRUNCATE that is rolled back, whole or to a savepoint, empties nothing.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
begin;
truncate people;
rollback;
begin;
insert into people values (2, 'Bob');
savepoint before_it;
truncate people;
rollback to before_it;
commit;
-- run
-- expect events
--   INSERT  null  {"id": 2, "name": "Bob"}
