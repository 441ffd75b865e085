-- A transaction that stays open over several runs: its changes come with the run after its commit, in commit order.
-- Elsewhere positions are mixed up and they are lost (airbyte#35963, #49803, flink-cdc#2538).
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
-- session a: begin;
update people set name = 'first to change, last to commit' where id = 1;
-- session b: update people set name = 'Bobby' where id = 2;
-- run
-- expect events
--   UPDATE  {"id": 2, "name": null}  {"id": 2, "name": "Bobby"}
-- session b: insert into people values (3, 'Cid');
-- run
-- session a: insert into people values (4, 'Dan');
commit;
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "first to change, last to commit"}
--   INSERT  null                     {"id": 4, "name": "Dan"}
