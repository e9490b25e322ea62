-- What binds shares, and what is paid on them. Version 1 of the register knows neither: a read model that
-- has followed it lacks nothing here.
CREATE TABLE encumbrances (
    kind         text   NOT NULL,          -- freeze or pledge
    number       text   NOT NULL,
    from_height  bigint NOT NULL,
    to_height    bigint,                   -- first height at which the row no longer holds; null: it holds
    account      text   NOT NULL,
    product_code text   NOT NULL,
    nature       text   NOT NULL,
    registered   bigint NOT NULL,          -- shares first asked for
    effective    bigint NOT NULL,
    waiting      bigint NOT NULL,
    CHECK (effective >= 0 AND waiting >= 0 AND effective + waiting <= registered)
);
CREATE UNIQUE INDEX encumbrances_by_height ON encumbrances (kind, text_digest(number), from_height);
CREATE UNIQUE INDEX encumbrances_current ON encumbrances (kind, text_digest(number)) WHERE to_height IS NULL;
CREATE INDEX encumbrances_by_product ON encumbrances USING hash (product_code);

-- A declared dividend never changes. `position` is that of its transaction in the block.
CREATE TABLE dividends (
    height       bigint NOT NULL,
    position     bigint NOT NULL,
    dividend_no  text   NOT NULL,
    product_code text   NOT NULL,
    PRIMARY KEY (height, position)
);
CREATE TABLE dividend_rows (
    height     bigint NOT NULL,
    position   bigint NOT NULL,
    line       bigint NOT NULL,            -- 1, 2, 3 …; the last is what rounding leaves
    account    text   NOT NULL,            -- empty in the last
    nature     text   NOT NULL,            -- empty in the last
    shares     bigint,                     -- null in the last
    amount_fen bigint NOT NULL,
    status     text   NOT NULL,
    PRIMARY KEY (height, position, line),
    FOREIGN KEY (height, position) REFERENCES dividends
);
