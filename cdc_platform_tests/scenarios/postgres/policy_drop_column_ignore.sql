-- `drop_column: ignore`: the current state keeps the column too, null in rows that are written from then on.
-- config: schema_changes: {drop_column: ignore}
-- table: people
create table people (id int primary key, name text, phone text);
insert into people values (1, 'Ada', '123'), (2, 'Bob', '456');
-- run
alter table people drop column phone;
insert into people values (3, 'Cid');
-- run
-- expect columns: id, name, phone
