"""The demo of streams: sensors, a broker, a connector, a service and a receiver of webhooks, killed and judged."""
