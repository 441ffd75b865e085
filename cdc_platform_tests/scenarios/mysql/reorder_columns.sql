-- Columns of one type change places: MODIFY ... FIRST and AFTER move no value to another column.
-- table: people
create table people (id int primary key, first_name varchar(100), last_name varchar(100), age int);
insert into people values (1, 'Ada', 'Lovelace', 36);
-- run
insert into people values (2, 'Bob', 'Smith', 40);
alter table people modify last_name varchar(100) after id;
insert into people values (3, 'Jones', 'Cid', 20);
alter table people modify age int first;
insert into people values (30, 4, 'Brown', 'Dan');
update people set first_name = 'Adele' where id = 1;
-- run
-- expect rows
--   id | first_name | last_name | age
--   1  | Adele      | Lovelace  | 36
--   2  | Bob        | Smith     | 40
--   3  | Cid        | Jones     | 20
--   4  | Dan        | Brown     | 30
