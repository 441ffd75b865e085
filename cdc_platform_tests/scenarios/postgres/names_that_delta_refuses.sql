-- A column whose name Delta cannot have without column mapping: said at once, with the way out; Iceberg takes it.
-- table: people
create table people (id int primary key, "full name" text);
insert into people values (1, 'Ada');
-- run
-- expect stop 2 delta: column 'full name' has a character that a Delta column has only under column mapping; rename it in destination.columns
-- expect nothing written delta
update people set "full name" = 'Adele';
-- run
-- expect stop 2 delta: column 'full name' has a character that a Delta column has only under column mapping; rename it in destination.columns
