-- The same with a type that the old one cannot become.
-- table: people
create table people (id int primary key, name text, code text);
insert into people values (1, 'Ada', 'old'), (2, 'Bob', 'old');
-- config: schema_changes: {drop_column: apply}
-- run
alter table people drop column code;
insert into people values (3, 'Cid');
alter table people add column code int default 7;
-- run
-- expect rows
--   id | name | code
--   1  | Ada  | 7
--   2  | Bob  | 7
--   3  | Cid  | 7
