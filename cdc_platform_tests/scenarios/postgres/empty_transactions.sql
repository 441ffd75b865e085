-- Transactions without a row change, and changes of tables that are not followed: no event, and nothing stops.
-- table: people
create table people (id int primary key, name text);
create table others (id int primary key);
insert into people values (1, 'Ada');
-- run
begin;
commit;
begin;
select count(*) from people;
commit;
update people set name = 'x' where id = 99;
insert into others select generate_series(1, 1000);
select pg_logical_emit_message(true, 'anybody', 'hello'), pg_logical_emit_message(false, 'anybody', 'hello');
-- run
-- expect events
update people set name = 'Adele';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
