-- A table of an engine without transactions: each statement counts at once, a failed one as far as it came.
-- table: people
create table people (id int primary key, name varchar(100)) engine = MyISAM;
insert into people values (1, 'Ada');
-- run
begin;
insert into people values (2, 'Bob');
rollback;
insert ignore into people values (3, 'Cid'), (1, 'Eve'), (4, 'Dan');
-- run
-- expect events
--   INSERT  null  {"id": 2, "name": "Bob"}
--   INSERT  null  {"id": 3, "name": "Cid"}
--   INSERT  null  {"id": 4, "name": "Dan"}
