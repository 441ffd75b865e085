-- The default of a new column fills the rows that are there, without a change in the log.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people add column tier varchar(10) not null default 'Bronze', add column score int default 7;
insert into people (id, name) values (3, 'Cid');
update people set tier = 'Gold' where id = 1;
-- run
-- expect rows
--   id | tier   | score
--   1  | Gold   | 7
--   2  | Bronze | 7
--   3  | Bronze | 7
