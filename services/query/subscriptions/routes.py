"""The routes of subscriptions, and their descriptions.

All of them need the scope `write`: the addresses of receivers are secrets of their owners.
"""

from typing import Final

from schemas.notices.subscription import Subscription
from services.query.documents.routes import DocumentTypes, document_routes
from services.query.http.describe import json_response, operation
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.subscriptions.resource import (
    SPEC,
    ReplayRequest,
    RotateRequest,
    Subscriptions,
)
from services.query.subscriptions.response import (
    DeliveryStatusResponse,
    QueuedResponse,
    SecretResponse,
    SentResponse,
    SubscriptionListResponse,
    SubscriptionResponse,
)

_ONE: Final = f"/{SPEC.plural}/{{id}}"

SUBSCRIPTION_ROUTES: Final = RouteGroup(
    (
        *document_routes(
            DocumentTypes(
                SPEC.kind,
                SPEC.plural,
                Subscription,
                SubscriptionResponse,
                SubscriptionListResponse,
            ),
            scope="write",
            summary="Be told of events by a webhook, Slack, e-mail or a topic of Kafka",
        ),
        ApiRoute(
            "GET",
            f"{_ONE}/status",
            Subscriptions.status,
            operation(
                "readSubscriptionStatus",
                "How far the messages of a subscription are",
                {"200": json_response(DeliveryStatusResponse)},
                404,
            ),
            "GetStatus",
            SPEC.kind,
            "write",
        ),
        ApiRoute(
            "GET",
            f"{_ONE}/secret",
            Subscriptions.secret,
            operation(
                "readSubscriptionSecret",
                "The secret that signs the requests of a webhook",
                {"200": json_response(SecretResponse)},
                404,
            ),
            "GetSubscriptionSecret",
            scope="write",
        ),
        ApiRoute(
            "POST",
            f"{_ONE}/rotate",
            Subscriptions.rotate,
            operation(
                "rotateSubscriptionSecret",
                "Give a webhook a new secret; for a while both sign",
                {"200": json_response(SecretResponse)},
                *(404, 413),
                body="RotateRequest",
            ),
            "RotateSubscriptionSecret",
        ),
        ApiRoute(
            "POST",
            f"{_ONE}/replay",
            Subscriptions.replay,
            operation(
                "replaySubscription",
                "Send messages once more, under the ids that they have",
                {"202": json_response(QueuedResponse)},
                *(404, 409, 413, 429),
                body="ReplayRequest",
            ),
            "ReplaySubscription",
        ),
        ApiRoute(
            "POST",
            f"{_ONE}/test",
            Subscriptions.test,
            operation(
                "testSubscription",
                "Send a message of the type `test`",
                {"202": json_response(QueuedResponse)},
                *(404, 429),
            ),
            "TestSubscription",
        ),
    ),
    (
        Subscription,
        SubscriptionResponse,
        SubscriptionListResponse,
        DeliveryStatusResponse,
        SentResponse,
        SecretResponse,
        QueuedResponse,
        RotateRequest,
        ReplayRequest,
    ),
)
