-- What is rolled back to a savepoint never was; what surrounds it is.
-- table: people
create table people (id int primary key, name text);
-- run
begin;
insert into people values (1, 'Ada');
savepoint s;
update people set name = 'nobody';
insert into people values (2, 'nobody');
savepoint inner_one;
delete from people;
release inner_one;
rollback to s;
insert into people values (3, 'Cid');
savepoint t;
insert into people values (4, 'Dan');
release t;
commit;
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Ada"}
--   INSERT  null  {"id": 3, "name": "Cid"}
--   INSERT  null  {"id": 4, "name": "Dan"}
