-- binlog_row_image = MINIMAL: the log has the key and what changed; the rest is unchanged, not null.
-- table: people
create table people (id int primary key, name varchar(100), age int, notes text);
insert into people values (1, 'Ada', 36, 'x'), (2, 'Bob', 40, null);
-- run
set session binlog_row_image = 'MINIMAL';
update people set age = 37 where id = 1;
update people set notes = null where id = 1;
insert into people (id, name) values (3, 'Cid');
update people set name = 'Cidney' where id = 3;
delete from people where id = 2;
-- run
-- expect rows
--   id | name   | age  | notes
--   1  | Ada    | 37   | null
--   3  | Cidney | null | null
update people set id = 10 where id = 1;
-- run
-- expect rows
--   id | name   | age  | notes
--   10 | Ada    | 37   | null
--   3  | Cidney | null | null
