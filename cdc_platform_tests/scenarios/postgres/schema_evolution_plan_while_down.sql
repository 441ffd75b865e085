-- All five steps of the data model, and changes between them, happen while the platform is down.
-- table: cdc_schema_evolution_test
create table cdc_schema_evolution_test (
  id serial primary key, original_column varchar(255) not null, created_at timestamp not null
);
insert into cdc_schema_evolution_test (original_column, created_at) values ('one', '2026-01-01'), ('two', '2026-01-02');
-- run
alter table cdc_schema_evolution_test add column new_column_added varchar(100);
update cdc_schema_evolution_test set new_column_added = 'later' where id = 1;
alter table cdc_schema_evolution_test drop column original_column;
insert into cdc_schema_evolution_test (created_at, new_column_added) values ('2026-01-03', 'three');
alter table cdc_schema_evolution_test alter column new_column_added type text;
update cdc_schema_evolution_test set new_column_added = repeat('long', 100) where id = 3;
alter table cdc_schema_evolution_test rename column new_column_added to renamed_column;
delete from cdc_schema_evolution_test where id = 2;
-- run
-- expect columns append: id, original_column, created_at, renamed_column
-- expect columns upsert: id, created_at, renamed_column
