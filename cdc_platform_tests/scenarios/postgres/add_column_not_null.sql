-- NOT NULL with a default: filled at once, in the rows that are there too.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob');
alter table people add column tier text not null default 'Bronze';
insert into people (id, name) values (3, 'Cid');
update people set tier = 'Gold' where id = 1;
-- run
-- expect rows
--   id | tier
--   1  | Gold
--   2  | Bronze
--   3  | Bronze
