-- PREPARE TRANSACTION: nothing before COMMIT PREPARED, all at it; ROLLBACK PREPARED leaves nothing.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
begin;
insert into people values (2, 'Bob');
prepare transaction 'one_$database';
begin;
insert into people values (3, 'nobody');
prepare transaction 'two_$database';
insert into people values (4, 'Dan');
-- run
-- expect events
--   INSERT  null  {"id": 4, "name": "Dan"}
commit prepared 'one_$database';
rollback prepared 'two_$database';
-- run
-- expect events
--   INSERT  null  {"id": 2, "name": "Bob"}
