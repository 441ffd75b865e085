-- `rename_column: ignore`: the destination keeps the old name, and the values arrive under it.
-- config: schema_changes: {rename_column: ignore}
-- table: people
create table people (id int primary key, name text, age int);
insert into people values (1, 'Ada', 36);
-- run
alter table people rename column name to full_name;
insert into people values (2, 'Bob', 40);
-- run
-- expect columns: id, name, age
-- expect rows
--   id | name | age
--   1  | Ada  | 36
--   2  | Bob  | 40
