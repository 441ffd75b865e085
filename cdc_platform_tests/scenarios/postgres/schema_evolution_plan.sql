-- The five steps of the data model (1.1 and 6), with changes before, between and after them.
-- Elsewhere the sink is frozen after ADD COLUMN, or the table is copied again (risingwave#25911, ingestr).
-- table: cdc_schema_evolution_test
create table cdc_schema_evolution_test (
  id serial primary key, original_column varchar(255) not null, created_at timestamp not null
);
insert into cdc_schema_evolution_test (original_column, created_at) values ('one', '2026-01-01'), ('two', '2026-01-02');
-- run
-- expect columns: id, original_column, created_at
insert into cdc_schema_evolution_test (original_column, created_at) values ('three', '2026-01-03');
-- Step 1
alter table cdc_schema_evolution_test add column new_column_added varchar(100);
insert into cdc_schema_evolution_test (original_column, created_at, new_column_added) values ('four', '2026-01-04', 'new');
update cdc_schema_evolution_test set new_column_added = 'later' where id = 1;
-- run
-- expect columns: id, original_column, created_at, new_column_added
-- expect rows
--   id | original_column | new_column_added
--   1  | one             | later
--   2  | two             | null
--   3  | three           | null
--   4  | four            | new
delete from cdc_schema_evolution_test where id = 2;
-- Step 2: the history keeps the column, the current state does not.
alter table cdc_schema_evolution_test drop column original_column;
insert into cdc_schema_evolution_test (created_at, new_column_added) values ('2026-01-05', 'five');
-- run
-- expect columns append: id, original_column, created_at, new_column_added
-- expect columns upsert: id, created_at, new_column_added
update cdc_schema_evolution_test set new_column_added = 'V' where id = 5;
-- Step 3
alter table cdc_schema_evolution_test alter column new_column_added type text;
update cdc_schema_evolution_test set new_column_added = repeat('long', 100) where id = 4;
-- run
-- Step 4
alter table cdc_schema_evolution_test rename column new_column_added to renamed_column;
insert into cdc_schema_evolution_test (created_at, renamed_column) values ('2026-01-06', 'six');
delete from cdc_schema_evolution_test where id = 1;
-- run
-- expect columns append: id, original_column, created_at, renamed_column
-- expect columns upsert: id, created_at, renamed_column
update cdc_schema_evolution_test set renamed_column = null where id = 6;
-- run
