-- Services as registered on the regulatory chain; rebuilt from its blocks.
CREATE TABLE services (
    name           text   PRIMARY KEY,
    description    text   NOT NULL,
    interface      text   NOT NULL,
    permission     text   NOT NULL,
    endpoint       text   NOT NULL,
    publisher      text   NOT NULL,
    state          text   NOT NULL,
    height         bigint NOT NULL,
    transaction_id bytea  NOT NULL
);
CREATE INDEX services_by_name ON services (name COLLATE "C");
