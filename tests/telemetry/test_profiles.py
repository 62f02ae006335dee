from sidecar.settings import Provider, Settings, Telemetry
from sidecar.telemetry.traces.attributes import Server
from sidecar.telemetry.traces.genai import genai
from sidecar.telemetry.traces.openinference import openinference
from sidecar.telemetry.traces.profiles import PROFILES, view


def test_the_settings_choose_the_words() -> None:
    assert view(Settings()).profile is genai
    assert view(Settings(telemetry=Telemetry(profile="openinference"))).profile is openinference
    assert set(PROFILES) == {"genai", "genai-next", "openinference"}


def test_content_is_told_only_where_it_is_wanted() -> None:
    assert view(Settings()).content is False
    assert view(Settings(telemetry=Telemetry(content=True))).content is True


def test_a_provider_is_where_its_base_url_says() -> None:
    urls = {
        "a": "https://api.openai.com/v1",
        "b": "http://127.0.0.1/v1",
        "c": "https://[::1]:8443",
    }
    providers = tuple(Provider(name=name, base_url=url) for name, url in urls.items())
    assert view(Settings(providers=providers)).servers == {
        "a": Server("api.openai.com", 443),
        "b": Server("127.0.0.1", 80),
        "c": Server("::1", 8443),
    }
