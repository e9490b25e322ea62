"""Why the embedded PostgreSQL or a migration could not go on, and what to do about it.

Each error carries its facts as fields and its text in Chinese and English, remedy included,
because it is read by whoever starts the network and not by a caller over gRPC.
"""

from __future__ import annotations

from pathlib import Path


class PostgresError(Exception):
    """Base: `text_en` and `text_zh` name the offence and the remedy."""

    def __init__(self, text_en: str, text_zh: str) -> None:
        super().__init__(f"{text_en} / {text_zh}")
        self.text_en = text_en
        self.text_zh = text_zh


class DataFolderInUseError(PostgresError):
    """Another launcher or server holds the data folder."""

    def __init__(self, folder: Path, holder: int) -> None:
        super().__init__(
            f"the data folder {folder} is in use by process {holder}: stop that process, or choose "
            "another folder",
            f"数据目录 {folder} 正被进程 {holder} 使用：请停止该进程，或另选目录",
        )
        self.folder = folder
        self.holder = holder


class PortInUseError(PostgresError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} of 127.0.0.1 is in use: choose another port, or 0 for any free one",
            f"127.0.0.1 的端口 {port} 已被占用：请改用其他端口，或用 0 自动选择空闲端口",
        )
        self.port = port


class DiskFullError(PostgresError):
    """The file system of the data folder has no space left."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no space left on the disk of {folder}: free at least 200 MB, or choose a folder on "
            "another disk",
            f"{folder} 所在磁盘已满：请至少释放 200 MB 空间，或改用其他磁盘上的目录",
        )
        self.folder = folder


class OtherMajorVersionError(PostgresError):
    """The cluster was made by another major version of PostgreSQL."""

    def __init__(self, folder: Path, found: str, wanted: str) -> None:
        super().__init__(
            f"the cluster in {folder} belongs to PostgreSQL {found}, the programs here are "
            f"PostgreSQL {wanted}: dump and restore it, or choose a new folder (projections are "
            "rebuilt from the chain)",
            f"{folder} 中的数据库属于 PostgreSQL {found}，而当前程序为 PostgreSQL {wanted}："
            "请导出后再导入，或改用新目录（投影数据可由链重建）",
        )
        self.folder = folder
        self.found = found
        self.wanted = wanted


class NotAClusterError(PostgresError):
    """The folder holds files, but they are no cluster of ours."""

    def __init__(self, folder: Path, missing: str) -> None:
        super().__init__(
            f"{folder} holds a cluster without its {missing}: restore that file from a backup, or "
            "choose a new folder",
            f"{folder} 中的数据库缺少 {missing}：请从备份恢复该文件，或改用新目录",
        )
        self.folder = folder
        self.missing = missing


class IdentityUnavailableError(PostgresError):
    """PostgreSQL refuses root, and no other identity could be taken here."""

    def __init__(self, attempts: list[str]) -> None:
        tried = "; ".join(attempts)
        super().__init__(
            "PostgreSQL cannot run under this user here: start as an ordinary user with a passwd "
            "entry, allow unprivileged user namespaces, or use a data folder that others may "
            f"traverse, such as one under /var/lib (tried: {tried})",
            "当前用户无法运行 PostgreSQL：请改用有 passwd 记录的普通用户，"
            "或允许非特权用户命名空间，"
            f"或选择其他用户可进入的数据目录，例如 /var/lib 下的目录（已尝试：{tried}）",
        )
        self.attempts = attempts


class StartFailedError(PostgresError):
    """PostgreSQL gave up or did not answer in time; the end of its log says why."""

    def __init__(self, program: str, log: Path, last_lines: str) -> None:
        super().__init__(
            f"{program} did not start; the log {log} ends with: {last_lines or '(nothing)'}",
            f"{program} 未能启动；日志 {log} 的末尾为：{last_lines or '（空）'}",
        )
        self.program = program
        self.log = log
        self.last_lines = last_lines


class MigrationError(PostgresError):
    """The database and the migration files disagree; nothing was changed."""


class OtherOwnerError(PostgresError):
    """The database holds the rows of another network, chain or service; nothing was changed."""

    code = "DATA_FOLDER_OTHER_NETWORK"

    def __init__(self, database: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"the database {database} belongs to {found}, not to {expected}",
            f"数据库 {database} 属于 {found}，而不属于 {expected}",
        )
        self.found = found
        self.expected = expected
