-- What is rolled back to a savepoint never was; what surrounds it is.
-- table: people
create table people (id int primary key, name varchar(100));
-- run
begin;
insert into people values (1, 'Ada');
savepoint s;
update people set name = 'nobody';
insert into people values (2, 'nobody');
rollback to s;
insert into people values (3, 'Cid');
commit;
begin;
insert into people values (4, 'nobody');
rollback;
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Ada"}
--   INSERT  null  {"id": 3, "name": "Cid"}
