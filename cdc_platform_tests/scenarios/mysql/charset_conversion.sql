-- The table's character set changes: the same text in other bytes, and each row is read by the set that it was written in.
-- table: people
create table people (id int primary key, name varchar(100), note text) character set latin1;
insert into people values (1, 'Zoë', 'é');
-- run
insert into people values (2, 'Jürgen', null);
alter table people convert to character set utf8mb4;
insert into people values (3, '漢字 😀', 'ž');
update people set note = 'ü' where id = 1;
-- run
-- expect rows
--   id | name    | note
--   1  | Zoë     | ü
--   2  | Jürgen  | null
--   3  | 漢字 😀 | ž
