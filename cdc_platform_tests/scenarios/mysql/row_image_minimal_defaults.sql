-- With a minimal image an INSERT leaves out columns that the statement did not name: they have their defaults.
-- table: people
create table people (id int primary key, name varchar(100), tier varchar(10) not null default 'Bronze', age int);
-- run
set session binlog_row_image = 'MINIMAL';
insert into people (id, name) values (1, 'Ada');
insert into people (id, name, tier) values (2, 'Bob', 'Gold');
-- run
-- expect rows
--   id | name | tier   | age
--   1  | Ada  | Bronze | null
--   2  | Bob  | Gold   | null
