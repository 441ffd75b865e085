-- A transaction that stays open over several runs comes with the run after its commit.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
-- session a: begin;
update people set name = 'first to change, last to commit' where id = 1;
-- session b: update people set name = 'Bobby' where id = 2;
-- run
-- expect events
--   UPDATE  {"id": 2, "name": "Bob"}  {"id": 2, "name": "Bobby"}
-- session a: insert into people values (4, 'Dan');
commit;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "first to change, last to commit"}
--   INSERT  null                      {"id": 4, "name": "Dan"}
