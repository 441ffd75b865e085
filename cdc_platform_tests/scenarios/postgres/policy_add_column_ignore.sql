-- `add_column: ignore`: the destination keeps its columns.
-- config: schema_changes: {add_column: ignore}
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
alter table people add column age int default 5;
insert into people values (2, 'Bob', 40);
-- run
-- expect columns: id, name
update people set age = 41 where id = 2;
-- run
