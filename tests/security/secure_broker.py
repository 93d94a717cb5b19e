"""A broker with users, ACLs and TLS. Its PLAINTEXT listener is the administrator's; the others are for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from odradek.log.kafka_access import kafka_name
from odradek.schemas.access import Right
from odradek.testing.broker import LocalBroker, free_ports
from tests.security.certificates import Authority

_LISTENERS: Final = {
    "SCRAM": "SASL_SSL", "MTLS": "SSL", "PLAIN": "SASL_PLAINTEXT", "OAUTH": "SASL_PLAINTEXT",
    "EXPIRED": "SSL", "ELSEWHERE": "SSL",
}  # fmt: skip
"""The certificates of the last two are no longer good, and good for another host."""
_PLAIN: Final = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT"}

_SETTINGS: Final = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{others}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{others}
listener.security.protocol.map={protocols}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={expired}
listener.name.elsewhere.ssl.keystore.type=PEM
listener.name.elsewhere.ssl.keystore.location={elsewhere}
listener.name.mtls.ssl.client.auth=required
listener.name.mtls.ssl.principal.mapping.rules=RULE:^CN=(.*?)$/$1/,DEFAULT
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config={package}.scram.ScramLoginModule required;
listener.name.scram.scram-sha-512.sasl.jaas.config={package}.scram.ScramLoginModule required;
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config={package}.plain.PlainLoginModule required user_plain="{password}";
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config={package}.oauthbearer.OAuthBearerLoginModule required;
"""

_AUDIT: Final = """
logger.audit.name=kafka.authorizer.logger
logger.audit.level=DEBUG
"""

PASSWORD: Final = "tweety-4711"


class SecureBroker(LocalBroker):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder)
        self._ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        self._admin: AdminClient | None = None

    def _of_node(self, data: Path) -> str:
        with (self.folder / "log4j2.properties").open("a") as logging:
            logging.write(_AUDIT)
        return super()._of_node(data) + _SETTINGS.format(
            port=self.port,
            controller=self.controller_port,
            others=",".join(f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()),
            keystore=self.authority.sign("broker").both,
            expired=self.authority.sign("expired", expired=True).both,
            elsewhere=self.authority.sign("elsewhere", place="127.0.0.2").both,
            authority=self.authority.file,
            protocols=",".join(f"{name}:{protocol}" for name, protocol in {**_PLAIN, **_LISTENERS}.items()),
            package="org.apache.kafka.common.security",
            password=PASSWORD,
        )

    def at(self, listener: str) -> str:
        return f"kafka://127.0.0.1:{self._ports[listener]}"

    def scram(self, user: str, password: str = PASSWORD) -> dict[str, str]:
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": str(self.authority.file),
        }

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def add_user(self, name: str) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        made = self.admin.alter_user_scram_credentials([UserScramCredentialUpsertion(name, info, PASSWORD.encode())])
        for future in made.values():
            future.result(10)

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        for future in self.admin.create_acls([AclBinding(*_acl(user, right)) for right in rights]).values():
            future.result(10)

    def revoke(self, user: str, right: Right) -> None:
        for future in self.admin.delete_acls([AclBindingFilter(*_acl(user, right))]).values():
            future.result(10)

    def audit(self) -> str:
        """What was allowed and denied, line by line, since the broker began."""
        return self._output.read_text(errors="replace")


def _acl(
    user: str, right: Right
) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
    return (
        ResourceType.BROKER if right.resource == "cluster" else ResourceType[right.resource.upper()],
        right.name,
        ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[kafka_name(right.operation)],
        AclPermissionType.ALLOW,
    )
