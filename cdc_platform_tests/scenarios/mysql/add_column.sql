-- Columns are added at the end, first and in the middle: each value is found in its own column.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
insert into people values (3, 'Cid');
alter table people add column age int;
insert into people values (4, 'Dan', 30);
alter table people add column title varchar(10) first, add column city varchar(20) after id;
insert into people values ('Dr', 5, 'Paris', 'Eve', 50);
update people set age = 36 where id = 1;
-- run
-- expect rows
--   id | name | age  | title | city
--   1  | Ada  | 36   | null  | null
--   2  | Bob  | null | null  | null
--   3  | Cid  | null | null  | null
--   4  | Dan  | 30   | null  | null
--   5  | Eve  | 50   | Dr    | Paris
