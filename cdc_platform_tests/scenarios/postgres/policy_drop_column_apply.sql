-- `drop_column: apply`: the history loses the column too.
-- config: schema_changes: {drop_column: apply}
-- table: people
create table people (id int primary key, name text, phone text);
insert into people values (1, 'Ada', '123');
-- run
alter table people drop column phone;
insert into people values (2, 'Bob');
-- run
-- expect columns: id, name
