"""The page's jinja template.

A Python module, because the bundle that `flwr run` makes of a checkout leaves HTML files out.
"""

# ruff: noqa: E501
TEMPLATE = """\
{% macro tile(split, name, value, detail) %}
<div class="tile {{ split }}"><dt>{{ name }}</dt><dd>{{ value }}</dd><small>{{ detail }}</small></div>
{% endmacro %}
{% set worst = caption.worst_silo(summary) %}
{% set with_silos = run.rounds | selectattr("silo_mean", "ne", None) | list | length > 0 %}
{% set of_best = "of round %d, the best on validation" % summary.best_round if summary.best_round is not none else "no best round" %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ settings.method }} on {{ settings.data }}, {{ number.count(settings.silos, "silo") }}</title>
<style>
{{ style }}
</style>
</head>
<body>
<header>
<h1>{{ settings.method }} on {{ settings.data }}, {{ number.count(settings.silos, "silo") }}</h1>
<p class="muted">{{ settings.backbone }} · {{ caption.about_partition(settings) }} · {{ number.count(settings.rounds, "round") }}
 · learning rate {{ settings.learning_rate }} · batch norm: {{ settings.batch_norm }} · seed {{ settings.seed }}</p>
{% if not run.finished %}
<p class="alert" role="alert"><strong>This run did not finish.</strong> {{ run.rounds | length }} of
 {{ number.count(settings.rounds, "round") }} are recorded, and no summary of them.{% if run.failure %} Its last words: {{ run.failure }}.{% endif %} All numbers below are told from these
 rounds alone; if the run is still at work, remake this page when it is done.</p>
{% endif %}
</header>

<main>
<dl class="tiles">
{{ tile("validation", "Best validation accuracy", number.accuracy(summary.best_accuracy),
        "round %d of %d" % (summary.best_round, settings.rounds) if summary.best_round is not none else "") }}
{% if not settings.silos_validate %}
{{ tile("test", "Test accuracy of the best", number.accuracy(summary.test_accuracy), of_best) }}
{{ tile("test", "Final test accuracy", number.accuracy(summary.final_accuracy), "after round %d" % run.rounds[-1].round) }}
{% endif %}
{{ tile("silos", "Worst silo", number.accuracy(summary.silo_worst),
        "silo %d, on its own held-out samples; mean %s" % (worst.silo, number.accuracy(summary.silo_mean)) if worst else "no silo holds samples out") }}
{{ tile("", "Traffic", number.traffic(summary.traffic),
        "%s up to the server, %s down to the silos" % (number.traffic(summary.bytes_up), number.traffic(summary.bytes_down))) }}
{{ tile("", "Time", number.duration(summary.wall_seconds),
        "of which training %s" % number.duration(summary.train_seconds) if summary.train_seconds is not none else "") }}
</dl>
<p class="note"><span class="tag validation">Validation</span> chose the best round.
{% if not settings.silos_validate %} <span class="tag test">Test</span> was only read: nothing was chosen on it.{% endif %}
{% if summary.accuracy_auc is not none %}
 Mean validation accuracy over the rounds, the area under its curve: {{ number.accuracy(summary.accuracy_auc) }}.
{% endif %}
</p>
{% if caption.about_validation(settings) %}
<p class="note">{{ caption.about_validation(settings) }}</p>
{% endif %}
{% if caption.about_batch_norm(settings.batch_norm) %}
<p class="note">{{ caption.about_batch_norm(settings.batch_norm) }}</p>
{% endif %}
{% if summary.plain %}
<p class="note">With its own ReLUs in place of the fixed gates (the plain form), the best model reaches
 {{ number.accuracy(summary.plain.best_validation) }} on validation and {{ number.accuracy(summary.plain.best_test) }} on test, the last
 one {{ number.accuracy(summary.plain.final_validation) }} and {{ number.accuracy(summary.plain.final_test) }}.</p>
{% endif %}
{% for note in run.notes %}
<p class="note">{{ note }}</p>
{% endfor %}

<div class="figures">
{% for picture, text in figures %}
<figure>
{{ picture }}
<figcaption>{{ text }}</figcaption>
</figure>
{% endfor %}
</div>

<details{% if run.rounds | length <= 60 %} open{% endif %}>
<summary>Rounds</summary>
<div class="scroll">
<table>
<thead>
<tr class="group"><td></td><th>Training</th><th colspan="2"><span class="tag validation">Validation</span></th>
<th colspan="2"><span class="tag test">Test</span></th>{% if with_silos %}<th colspan="2">Silos' own samples</th>{% endif %}<td colspan="2"></td></tr>
<tr><th scope="col">Round</th><th scope="col">loss</th><th scope="col">loss</th><th scope="col">accuracy</th>
<th scope="col">loss</th><th scope="col">accuracy</th>{% if with_silos %}<th scope="col">mean</th><th scope="col">worst</th>{% endif %}
<th scope="col">Silos used</th><th scope="col">Seconds</th></tr>
</thead>
<tbody>
{% for line in run.rounds %}
<tr{% if line.round == summary.best_round %} class="best"{% endif %}><th scope="row">{{ line.round }}{% if line.round == summary.best_round %} <span class="tag validation">best</span>{% endif %}</th>
<td>{{ number.loss(line.train_loss) }}</td><td>{{ number.loss(line.loss) }}</td><td>{{ number.accuracy(line.accuracy) }}</td>
<td>{{ number.loss(line.test_loss) }}</td><td>{{ number.accuracy(line.test_accuracy) }}</td>
{% if with_silos %}
<td>{{ number.accuracy(line.silo_mean) }}</td><td>{{ number.accuracy(line.silo_worst) }}</td>
{% endif %}
<td>{{ caption.answered(line, settings.silos) }}</td><td>{{ "%.1f" % line.seconds if line.seconds is not none else number.NOTHING }}</td></tr>
{% if line.dropped %}
<tr class="drops"><td colspan="{{ 10 if with_silos else 8 }}"><span>{{ caption.of_drops(line.dropped) }}</span></td></tr>
{% endif %}
{% endfor %}
</tbody>
</table>
</div>
</details>

{% if summary.per_silo %}
<details{% if summary.per_silo | length <= 20 %} open{% endif %}>
<summary>Silos</summary>
<p class="note">Accuracy of the model of round {{ summary.best_round }} on the samples that the silo holds out and never trains on.
{% if summary.silo_std is not none %} Standard deviation over the silos: {{ number.accuracy(summary.silo_std) }}.{% endif %}</p>
<div class="scroll">
<table class="narrow">
<thead><tr><th scope="col">Silo</th><th scope="col">Trained on</th><th scope="col">Held out</th><th scope="col">Accuracy</th></tr></thead>
<tbody>
{% for silo in summary.per_silo %}
<tr{% if summary.silos_differ and silo.silo == worst.silo %} class="worst"{% endif %}><th scope="row">{{ silo.silo }}</th>
<td>{{ number.NOTHING if silo.train is none else silo.train }}</td><td>{{ number.NOTHING if silo.held_out is none else silo.held_out }}</td>
<td>{{ number.accuracy(silo.accuracy) }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
{% endif %}

<details>
<summary>Configuration</summary>
<pre><code>{{ settings.text }}</code></pre>
</details>

<h2>Provenance</h2>
<div class="scroll">
<table class="pairs">
<tbody>
<tr><th scope="row">Experiment</th><td>{{ settings.experiment }}</td></tr>
<tr><th scope="row">Gates' fingerprint</th><td>
{% if summary.fingerprint %}<code class="hash">{{ summary.fingerprint }}</code>{% elif settings.gates == "none" %}none: this method has no fixed gates{% elif summary.fingerprint == "" %}none at the end: the network's own ReLUs{% else %}not recorded{% endif %}
</td></tr>
{% if summary.weights_sha256 %}
<tr><th scope="row">Final weights (sha256)</th><td><code class="hash">{{ summary.weights_sha256 }}</code></td></tr>
{% endif %}
{% if run.partition %}
<tr><th scope="row">Server's splits</th><td>{{ number.count(run.partition.validation or 0, "validation sample") }}, {{ number.count(run.partition.test or 0, "test sample") }}</td></tr>
{% endif %}
<tr><th scope="row">Versions</th><td>{% for name, version in summary.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% else %}not recorded{% endfor %}</td></tr>
<tr><th scope="row">Remake this page</th><td><code>{{ command }}</code></td></tr>
</tbody>
</table>
</div>
</main>
</body>
</html>
"""
