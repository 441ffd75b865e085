-- DDL that is rolled back changed nothing.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
begin;
alter table people add column age int default 3;
insert into people values (2, 'nobody', 4);
rollback;
insert into people values (3, 'Cid');
-- run
-- expect columns: id, name
-- expect events
--   INSERT  null  {"id": 3, "name": "Cid"}
