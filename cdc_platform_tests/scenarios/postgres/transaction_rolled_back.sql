-- A transaction that is rolled back leaves nothing, whatever came between.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
-- session a: begin;
insert into people values (2, 'nobody');
delete from people where id = 1;
-- session b: insert into people values (3, 'Cid');
-- session a: rollback;
-- run
-- expect events
--   INSERT  null  {"id": 3, "name": "Cid"}
