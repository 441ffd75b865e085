-- The Postgres source tables. Every change carries the whole old row: replica identity full.
-- Indexes and the foreign key are made when the tables are full: see postgres_indexes.sql.

create table if not exists customers (
    customer_id serial primary key,
    email varchar(255) not null unique,
    first_name varchar(100) not null,
    last_name varchar(100) not null,
    phone varchar(20),
    address_line1 varchar(255),
    city varchar(100),
    state varchar(50),
    postal_code varchar(20),
    country varchar(100) not null default 'USA',
    registration_date timestamp not null,
    last_updated timestamp not null,
    is_active boolean default true,
    customer_tier varchar(20),
    lifetime_value numeric(12, 2) default 0.00
);
alter table customers replica identity full;

create table if not exists orders (
    order_id serial primary key,
    customer_id integer not null,
    order_date timestamp not null,
    order_status varchar(50) not null,
    total_amount numeric(12, 2) not null,
    shipping_address jsonb,
    payment_method varchar(50),
    order_notes text,
    last_updated timestamp not null
);
alter table orders replica identity full;

create table if not exists cdc_schema_evolution_test (
    id serial primary key,
    original_column varchar(255) not null,
    created_at timestamp not null
);
alter table cdc_schema_evolution_test replica identity full;
