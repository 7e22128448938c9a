"""The words of a certificate in German.

Here: words. Not here: which there must be (letter_words.py).
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.erasure.letter_words import Headings, Labels, Language

GERMAN: Final = Language(
    code="de",
    months=(
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ),
    date_form="{day}. {month} {year}",
    first_of_month="1",
    thousands=".",
    period="{first} bis {last}",
    page_of="Seite {page} von {pages}",
    title="Bescheinigung über die Löschung",
    title_undone="Antwort auf Ihren Antrag auf Löschung",
    subtitle="Unsere Antwort auf Ihren Antrag nach Artikel 17 der Datenschutz-Grundverordnung (DSGVO)",
    reference="Löschantrag {number}",
    headings=Headings(
        asked="Ihr Antrag",
        result="Ergebnis",
        deleted="Was gelöscht wurde",
        gone="Was vorher verschwunden war",
        not_deleted="Was nicht gelöscht wurde und warum",
        kept="Was wir aufbewahren, weil das Gesetz es vorsieht",
        scope="Was die Löschung umfasste",
        rights="Ihre Rechte",
        proof="Wie sich diese Bescheinigung prüfen lässt",
    ),
    labels=Labels(
        date="Datum",
        reference="Zeichen",
        user_id="Ihre Benutzerkennung",
        user_ids="Ihre Benutzerkennungen",
        asked="Sie verlangten",
        received="Eingegangen am",
        due="Zu beantworten bis",
        extension_reason="Grund der Verlängerung",
        reason="Grund",
        kind="Art der Daten",
        number="Anzahl",
        when="Gelöscht am",
        why="Warum",
        basis="Rechtsgrundlage",
        entry="Eintrag im Audit-Protokoll",
        closing_entry="Eintrag, der den Antrag abschloss",
        recorded="Aufgezeichnet",
        sha256="SHA-256 der Erklärung",
        ledger="Signiertes Verzeichnis: Name, Größe, Wurzel",
        check="Befehl",
    ),
    asked="die Löschung aller personenbezogenen Daten unter dieser Benutzerkennung (Artikel 17 DSGVO)",
    due="{date} (Artikel 12 Absatz 3 DSGVO)",
    extended="{date} (verlängert nach Artikel 12 Absatz 3 DSGVO; zuerst {first})",
    replay="Daten waren aus einer Sicherungskopie wiederhergestellt worden. Die Löschung zum Antrag {number} wurde "
    "deshalb noch einmal ausgeführt.",
    outcomes={
        "complete": "Die Löschung ist vollständig. Alle Daten, die unsere Anwendung unter Ihrer Benutzerkennung "
        "gespeichert hatte, sind gelöscht; wir bewahren nur auf, was unter „{kept}“ beschrieben ist.",
        "complete_nothing": "Unsere Anwendung hatte unter Ihrer Benutzerkennung keine Daten gespeichert; es gab "
        "nichts zu löschen. Wir bewahren nur auf, was unter „{kept}“ beschrieben ist.",
        "attributable": "Alles, was sich als Ihres erkennen lässt, ist gelöscht. Es gibt außerdem Daten, bei denen "
        "niemand erkennen kann, wem sie gehören. Sie wurden nicht gelöscht, und wir wissen nicht, ob welche "
        "davon Sie betreffen; siehe „{not_deleted}“.",
        "attributable_nothing": "Unsere Anwendung hatte keine Daten gespeichert, die sich als Ihre erkennen lassen; "
        "es gab nichts zu löschen. Es gibt Daten, bei denen niemand erkennen kann, wem sie gehören. Sie wurden "
        "nicht gelöscht, und wir wissen nicht, ob welche davon Sie betreffen; siehe „{not_deleted}“.",
        "partial": "Ihre Daten sind zum Teil gelöscht. Was nicht gelöscht wurde und warum, ist unter „{not_deleted}“ "
        "beschrieben.",
        "refused": "Wir haben Ihren Antrag abgelehnt und führen ihn nicht aus. Die DSGVO erlaubt das bei Anträgen, "
        "die offenkundig unbegründet oder exzessiv sind (Artikel 12 Absatz 5 Buchstabe b DSGVO).",
        "withdrawn": "Ihr Antrag wurde zurückgenommen, und wir führen ihn nicht aus.",
    },
    delayed="Ein Teil der Löschung war zeitweise aufgeschoben, weil die betroffenen Daten für Rechtsansprüche "
    "gebraucht wurden (Artikel 17 Absatz 3 Buchstabe e DSGVO).",
    verified="Am {date} wurden alle Orte, die diese Löschung umfasst, noch einmal durchsucht. Dabei fand sich nichts "
    "mehr, was gelöscht werden konnte.",
    nothing_deleted="Es wurde nichts gelöscht.",
    gone="Diese Daten waren gefunden worden und nicht mehr da, als wir sie löschen wollten. Ob diese Löschung oder "
    "etwas anderes sie entfernt hat, lässt sich nicht sagen.",
    kinds={
        "sessions": "Anmeldesitzungen",
        "session_lists": "Liste Ihrer Anmeldesitzungen",
        "conversations": "Gespräche mit dem Assistenten",
        "memories": "Was sich der Assistent über Sie gemerkt hatte",
        "memory_vectors": "Suchdaten zu solchen gemerkten Angaben",
        "other": "Andere Datensätze in unseren Datenbanken",
    },
    unlinked="{kind} (nichts verbindet sie mehr mit Ihnen)",
    unknown_number="nicht bekannt",
    counted="{kind}: {number}",
    not_deleted={
        "shared": "Daten, die auch andere Menschen betreffen",
        "unattributable": "Daten, bei denen niemand erkennen kann, wem sie gehören",
        "unfinished": "Daten, deren Löschung nicht beendet wurde",
        "reduced": "Datensätze, die mit weniger Angaben aufbewahrt werden",
    },
    reasons={
        "shared": "Diese Daten betreffen auch andere Menschen oder lassen sich von deren Daten nicht trennen. Mit "
        "ihnen würden auch Daten anderer gelöscht; das geschah deshalb nicht automatisch. Darüber muss jemand "
        "bei uns entscheiden; wenden Sie sich bitte an uns, wenn Sie das Ergebnis erfahren möchten.",
        "unattributable": "Nichts in diesen Daten sagt, wem sie gehören; niemand kann erkennen, ob welche davon Ihre "
        "sind. Die Zahlen sind die aller derartigen Daten, nicht die der Ihren. Wenn Sie uns sagen können, "
        "welche Ihre sind, etwa wann oder worüber sie entstanden, können wir noch einmal nachsehen.",
        "unfinished": "Die Löschung wurde in einem unserer Systeme begonnen und konnte nicht beendet werden, und "
        "dieses System gehört nicht mehr zu denen, die die Löschung erreicht. Dort können noch Daten von Ihnen "
        "sein. Wenden Sie sich deswegen bitte an uns.",
        "reduced": "Einzelne Angaben in diesen Datensätzen wurden entfernt oder ersetzt. Die Datensätze selbst "
        "bleiben und tragen weiter Ihre Benutzerkennung. Wo eine Zahl 0 ist, gibt es keine solchen Datensätze, "
        "oder die Angaben waren schon vorher entfernt.",
    },
    bases={
        "shared": "Die Rechte der anderen betroffenen Personen; Artikel 17 Absatz 3 DSGVO enthält für diese Daten "
        "keinen eigenen Grund.",
        "unattributable": "Artikel 11 DSGVO: Wir können nicht feststellen, wen diese Daten betreffen.",
        "unfinished": "Keine der Ausnahmen des Artikels 17 Absatz 3 DSGVO.",
        "reduced": "Den Grund nennen wir Ihnen auf Anfrage; siehe „{rights}“.",
    },
    kept_kinds={
        "audit_log": "Einträge unseres Audit-Protokolls, die Ihre Benutzerkennung tragen",
        "erasure_record": "Die Aufzeichnung dieses Antrags mit Ihrer Benutzerkennung",
    },
    kept_reasons={
        "audit_log": "Das Audit-Protokoll hält fest, wer in unseren Systemen was getan hat. Gesetze und Prüfer "
        "verlangen es, und niemand kann es ändern. Der Zeitraum, für den wir es aufbewahren, beträgt {years} "
        "Jahre.",
        "erasure_record": "Sie zeigt, dass wir Ihren Antrag beantwortet haben, und nach ihr werden Ihre Daten noch "
        "einmal gelöscht, falls eine Sicherungskopie eingespielt werden muss.",
    },
    kept_bases={
        "audit_log": "Artikel 17 Absatz 3 Buchstabe b DSGVO (rechtliche Verpflichtung) und Buchstabe e "
        "(Rechtsansprüche).",
        "erasure_record": "Artikel 17 Absatz 3 Buchstabe b DSGVO mit Artikel 5 Absatz 2 und Artikel 12 Absatz 3 "
        "DSGVO sowie Artikel 17 Absatz 3 Buchstabe e DSGVO.",
    },
    scope="Die Löschung umfasste die Systeme, in denen unsere Anwendung die Daten ihrer Benutzer hält. Sie umfasste "
    "weder Sicherungskopien noch Schriftwechsel mit uns. Wenden Sie sich bitte an uns, wenn Ihre Frage diese "
    "betrifft.",
    complaint="Wenn Sie der Ansicht sind, dass unser Umgang mit Ihren Daten oder diese Antwort gegen die DSGVO "
    "verstößt, können Sie sich bei einer Aufsichtsbehörde beschweren, insbesondere in dem Mitgliedstaat, in dem "
    "Sie wohnen oder arbeiten oder in dem der mutmaßliche Verstoß geschah (Artikel 12 Absatz 4 und Artikel 77 "
    "DSGVO).",
    authority="Die für uns zuständige Aufsichtsbehörde ist:",
    remedy="Sie haben außerdem das Recht auf einen wirksamen gerichtlichen Rechtsbehelf: Sie können gegen uns vor "
    "Gericht klagen (Artikel 12 Absatz 4 und Artikel 79 DSGVO).",
    contact="Bei Fragen zu diesem Schreiben oder zu Ihren Daten wenden Sie sich bitte an:",
    greeting="Mit freundlichen Grüßen",
    proven="Was dieses Schreiben über Ihren Antrag, sein Ergebnis und über das Gelöschte und Aufbewahrte sagt, steht "
    "in einer Erklärung. Deren Hashwert steht in einem Eintrag unseres Audit-Protokolls, das so versiegelt ist, "
    "dass keine spätere Änderung unbemerkt bleibt. Wer die Daten dieser Bescheinigung hat (JSON; die PDF-Datei "
    "enthält sie als Anhang, die HTML-Seite in ihrem Quelltext) und den öffentlichen Schlüssel unseres "
    "Verzeichnisses, kann das ohne uns prüfen. Datum, Anschriften und Wortlaut dieses Schreibens sind damit "
    "nicht bewiesen.",
    unproven="Ihr Antrag wurde abgeschlossen, bevor wir Bescheinigungen an unser Audit-Protokoll banden. Dieses "
    "Schreiben wurde am oben genannten Tag aus unserer internen Aufzeichnung erstellt und hat keinen eigenen "
    "Beweis. Die interne Aufzeichnung ist durch den hier genannten Eintrag unseres Audit-Protokolls bewiesen; "
    "die Aufsichtsbehörde kann das prüfen lassen.",
    utc="UTC",
)
